"""${message[:1].upper() + message[1:].replace('\\', '/').replace('"', "'").rstrip('.')}."""

from alembic import op

revision = "${up_revision}"
<% parent = f'"{down_revision}"' if down_revision else None %>\
down_revision = ${parent}


def upgrade() -> None:
    """Move on to this version."""
    ${upgrades if upgrades else 'op.execute("")'}


def downgrade() -> None:
    """Go back to the version before."""
    ${downgrades if downgrades else 'op.execute("")'}
