"""Make the table of decisions."""

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Move on to this version."""
    op.execute(
        """
        CREATE TABLE decisions (
            id uuid PRIMARY KEY,
            created_at timestamptz NOT NULL DEFAULT now(),
            score integer NOT NULL,
            default_probability double precision NOT NULL,
            outcome text NOT NULL CHECK (outcome IN ('approved', 'declined')),
            model text NOT NULL,
            features jsonb NOT NULL
        )
        """
    )


def downgrade() -> None:
    """Go back to the version before."""
    op.execute("DROP TABLE decisions")
