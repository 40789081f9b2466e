#!/bin/bash
# Make the cluster where there is none yet, then become the server. POSTGRES_USER, POSTGRES_PASSWORD or
# POSTGRES_PASSWORD_FILE, POSTGRES_DB, PGDATA and /docker-entrypoint-initdb.d mean what they mean in the public image.
set -euo pipefail

settings() {
    export POSTGRES_USER=${POSTGRES_USER:-postgres}
    export POSTGRES_DB=${POSTGRES_DB:-$POSTGRES_USER}
    [ -z "${POSTGRES_PASSWORD_FILE:-}" ] || POSTGRES_PASSWORD=$(< "$POSTGRES_PASSWORD_FILE")
    export POSTGRES_PASSWORD=${POSTGRES_PASSWORD:?"set it, or POSTGRES_PASSWORD_FILE"}
}

sql() {
    psql --set ON_ERROR_STOP=1 --no-psqlrc --quiet --username "$POSTGRES_USER" "$@"
}

first_scripts() {
    local file
    for file in /docker-entrypoint-initdb.d/*; do
        case $file in
            *.sh) if [ -x "$file" ]; then "$file"; else . "$file"; fi ;;
            *.sql) sql --dbname "$POSTGRES_DB" --file "$file" ;;
        esac
    done
}

initialise() {
    local fresh=$PGDATA.new # moved into place whole: a start that was cut short leaves nothing half made
    rm -rf "$fresh"
    mkdir -p "$(dirname "$PGDATA")"
    initdb --pgdata "$fresh" --username "$POSTGRES_USER" --pwfile <(printf '%s' "$POSTGRES_PASSWORD") \
        --auth-local trust --auth-host scram-sha-256 \
        --encoding UTF8 --locale C --locale-provider builtin --builtin-locale C.UTF-8
    {
        echo "listen_addresses = '*'"
        echo "unix_socket_directories = '/var/run/postgresql'"
    } >> "$fresh/postgresql.conf"
    echo 'host all all all scram-sha-256' >> "$fresh/pg_hba.conf"
    pg_ctl --pgdata "$fresh" --options "-c listen_addresses=''" --wait --silent start
    if [ "$POSTGRES_DB" != postgres ]; then
        sql --dbname postgres --command "CREATE DATABASE \"$POSTGRES_DB\""
    fi
    first_scripts
    pg_ctl --pgdata "$fresh" --mode fast --wait --silent stop
    mv "$fresh" "$PGDATA"
}

case ${1:-postgres} in
    -*) set -- postgres "$@" ;;
esac
if [ "$1" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
    settings
    initialise
fi
unset POSTGRES_PASSWORD
exec "$@"
