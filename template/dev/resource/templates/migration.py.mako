"""Make the table of ${labels}."""

from alembic import op

revision = "${revision}"
down_revision = ${parent}


def upgrade() -> None:
    """Move on to this version."""
    op.execute(
        """
        CREATE TABLE ${table} (
            id uuid PRIMARY KEY,
            created_at timestamptz NOT NULL DEFAULT now(),
            version integer NOT NULL DEFAULT 1,
% for definition in column_definitions[:-1]:
            ${definition},
% endfor
            ${column_definitions[-1]}
        )
        """
    )
    op.execute("CREATE INDEX ON ${escaped_table} (created_at, id)")
% for column in indexed:
    op.execute("CREATE INDEX ON ${escaped_table} (${column})")
% endfor


def downgrade() -> None:
    """Go back to the version before."""
    op.execute("DROP TABLE ${escaped_table}")
