"""${message}"""

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    """Move on to this version."""
    ${upgrades if upgrades else 'op.execute("")'}


def downgrade() -> None:
    """Go back to the version before."""
    ${downgrades if downgrades else 'op.execute("")'}
