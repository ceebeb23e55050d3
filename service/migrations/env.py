"""What Alembic runs: the migrations, on the connection that opening the database hands over."""
from alembic import context

from service.tables import Table

context.configure(connection=context.config.attributes["connection"], target_metadata=Table.metadata, transactional_ddl=False)
context.run_migrations()
