"""Keep with each order the trace of its request."""

from alembic import op

revision = "0002_traceparent"
down_revision = "0001"


# copier: if false
down_revision = "0002"


# copier: endif
def upgrade() -> None:
    """Move on to this version."""
    op.execute("ALTER TABLE orders ADD COLUMN traceparent text")


def downgrade() -> None:
    """Go back to the version before."""
    op.execute("ALTER TABLE orders DROP COLUMN traceparent")
