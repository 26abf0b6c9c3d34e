#!/bin/sh
# Make an authority and a server's certificate for the profile tls of docker-compose.yml. Only for trying: the
# authority's key lies beside it.
#
#   make_certificates.sh [NAME...]     names of the server; default: localhost 127.0.0.1 server-tls
#
# The files go to made/, beside this script. Only its owner may enter that folder, so the server's key can be readable
# by all: the container's user, another one, gets the files mounted.
set -eu
umask 077
cd "$(dirname "$0")"
rm -rf made
mkdir made
cd made

[ $# -gt 0 ] || set -- localhost 127.0.0.1 server-tls
alternatives=
for name; do
  case $name in
    *[!0-9.]*) kind=DNS ;;
    *) kind=IP ;;
  esac
  alternatives="${alternatives:+$alternatives,}$kind:$name"
done

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=cifar10net test authority" \
  -addext "keyUsage=critical,keyCertSign,cRLSign" -keyout ca.key -out ca.crt 2>openssl.log
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout server.key -out server.csr 2>>openssl.log
printf 'basicConstraints=CA:FALSE\nkeyUsage=digitalSignature\nextendedKeyUsage=serverAuth\nsubjectAltName=%s\n' \
  "$alternatives" >server.ext
openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile server.ext \
  -out server.crt 2>>openssl.log
rm -f server.csr server.ext ca.srl openssl.log
chmod 644 ca.crt server.crt server.key
echo "made for $alternatives: $(pwd)/ca.crt server.crt server.key"
