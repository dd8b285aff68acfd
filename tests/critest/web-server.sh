#!/bin/sh
# The web server of an image, under the name that the suite looks for: NAME "master process" PORT.
# `ps` shows this script under its file's name; the process id is where the suite reads it.
name=${0##*/}
echo $$ > "/var/run/$name.pid"
trap 'kill $!; exit 0' TERM QUIT INT
echo "httpd of $name listens on port $2"
httpd -f -v -p "0.0.0.0:$2" -h /www &
wait $!
