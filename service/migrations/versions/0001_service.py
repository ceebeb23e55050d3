"""From the ledger of one person's command to that of a service: owners, priorities, retries, tokens, audit, notices.

The way back is the backup that was taken before the upgrade: an older version refuses the ledger.
"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.add_column("pipelines", sa.Column("owner", sa.String(80), nullable=False, server_default="local"))
    op.add_column("pipelines", sa.Column("priority", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("pipelines", sa.Column("admitted", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_index("ix_pipelines_admitted", "pipelines", ["admitted"])
    op.create_index("ix_pipelines_owner_state", "pipelines", ["owner", "state"])
    op.execute("UPDATE pipelines SET admitted = (1 = 1) WHERE state <> 'queued'")
    op.add_column("stages", sa.Column("not_before", sa.Double(), nullable=True))
    op.add_column("stages", sa.Column("changes", sa.JSON(), nullable=True))
    op.add_column("attempts", sa.Column("cause", sa.String(16), nullable=True))
    op.create_table(
        "requests",
        sa.Column("owner", sa.String(80), primary_key=True),
        sa.Column("key", sa.String(200), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("pipeline_id", sa.String(80), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
    )
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(16), primary_key=True),
        sa.Column("name", sa.String(80), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("expires", sa.Double(), nullable=True),
        sa.Column("revoked", sa.Double(), nullable=True),
    )
    op.create_index("ix_tokens_name", "tokens", ["name"])
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("time", sa.Double(), nullable=False),
        sa.Column("who", sa.String(80), nullable=False),
        sa.Column("address", sa.String(64), nullable=False),
        sa.Column("action", sa.String(80), nullable=False),
        sa.Column("object", sa.String(200), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("detail", sa.String(), nullable=True),
    )
    op.create_index("ix_audit_time", "audit", ["time"])
    op.create_table(
        "notices",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("event", sa.String(40), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_try", sa.Double(), nullable=True),
        sa.Column("message", sa.String(), nullable=True),
    )
    op.create_index("ix_notices_next_try", "notices", ["next_try"])
