#!/bin/bash
# Makes the cluster when there is none, runs the scripts of /docker-entrypoint-initdb.d in it, then becomes the server.
set -euo pipefail
export PGDATA=/var/lib/postgresql/18/docker
if [[ ! -s $PGDATA/PG_VERSION ]]; then
  # As the official image has it: no password from within the container, always one from outside.
  initdb --username=postgres --auth=trust --pwfile=<(echo "$POSTGRES_PASSWORD") --encoding=UTF8 --locale=C.UTF-8 \
    --no-instructions
  echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
  # Without a port: nobody must take it for ready while it is being made.
  pg_ctl start --wait --silent -o "-c listen_addresses='' -c unix_socket_directories=/tmp"
  for script in /docker-entrypoint-initdb.d/*.sql; do
    psql --host /tmp --username postgres --set ON_ERROR_STOP=1 --quiet --file "$script"
  done
  pg_ctl stop --wait --silent --mode fast
fi
exec "$@" -c listen_addresses='*' -c unix_socket_directories=/tmp
