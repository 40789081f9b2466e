# Run once, on an empty database: the owner of all tables, the two roles that take turns (`todo rotate database`), and
# the one of them that POSTGRES_CONNECTION_STRING logs in as.
login=${POSTGRES_CONNECTION_STRING#*://}
login=${login%%@*}
export TODO_ROLE="${login%%:*}" TODO_PASSWORD="${login#*:}"
psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
\getenv role TODO_ROLE
\getenv password TODO_PASSWORD
CREATE ROLE todo_owner NOLOGIN;
CREATE ROLE todo_a NOLOGIN NOINHERIT IN ROLE todo_owner;
CREATE ROLE todo_b NOLOGIN NOINHERIT IN ROLE todo_owner;
ALTER ROLE todo_a SET role = todo_owner;
ALTER ROLE todo_b SET role = todo_owner;
ALTER DATABASE todo OWNER TO todo_owner;
ALTER ROLE :"role" LOGIN PASSWORD :'password';
SQL
unset TODO_ROLE TODO_PASSWORD
