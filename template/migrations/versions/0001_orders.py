"""Make the tables of orders, of their receipts, and of what workers have given up."""

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
            status text NOT NULL DEFAULT 'new' CHECK (status IN ('new', 'emitting', 'emitted')),
            items jsonb NOT NULL,
            idempotency_key text UNIQUE,
            correlation_id text,
            traceparent text, -- of the request, by W3C Trace Context
            due_at timestamptz DEFAULT now(), -- NULL: emitted, or given up
            first_attempt_at timestamptz,
            attempts integer NOT NULL DEFAULT 0,
            postponements integer NOT NULL DEFAULT 0
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
    op.execute(
        """
        CREATE TABLE dead_letters (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            given_up_at timestamptz NOT NULL DEFAULT now(),
            order_id uuid UNIQUE, -- NULL: the message names none
            message text NOT NULL,
            error text NOT NULL
        )
        """
    )


def downgrade() -> None:
    """Go back to the version before."""
    op.execute("DROP TABLE dead_letters, receipts, orders")
