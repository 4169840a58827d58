"""Make the tables of orders and of their receipts."""

from alembic import op

revision = "0001"
down_revision = None


# copier: if false
revision = "0002"
down_revision = "0001"


# copier: endif
def upgrade() -> None:
    """Move on to this version."""
    op.execute(
        """
        CREATE TABLE orders (
            id uuid PRIMARY KEY,
            created_at timestamptz NOT NULL DEFAULT now(),
            changed_at timestamptz NOT NULL DEFAULT now(),
            due_at timestamptz DEFAULT now(),
            attempts integer NOT NULL DEFAULT 0,
            status text NOT NULL DEFAULT 'new' CHECK (status IN ('new', 'emitting', 'emitted')),
            items jsonb NOT NULL,
            idempotency_key text UNIQUE,
            correlation_id text,
            traceparent text -- of the request, by W3C Trace Context
        )
        """
    )
    op.execute("CREATE INDEX ON orders (due_at) WHERE due_at IS NOT NULL")
    op.execute(
        """
        CREATE TABLE receipts (
            order_id uuid PRIMARY KEY REFERENCES orders,
            created_at timestamptz NOT NULL DEFAULT now(),
            text text NOT NULL,
            registration text NOT NULL UNIQUE
        )
        """
    )


def downgrade() -> None:
    """Go back to the version before."""
    op.execute("DROP TABLE receipts, orders")
