#!/bin/bash
# edge_health.sh HOST PORT: succeeds if the edge's status port says that it is well. For keepalived, once a second: starts no other program.
exec 3<>"/dev/tcp/$1/$2" || exit 1
printf 'GET /health HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "$1" >&3
read -r -t 2 _ status _ <&3
[ "$status" = 200 ]
