"""A real gRPC health server for tests: grpcio and grpcio-health-checking.

    python3 grpc_health.py ADDRESS [CERTIFICATE KEY]

ADDRESS is `127.0.0.1:0` or `unix:/path`. With a certificate and a key (PEM files) it speaks TLS. It prints one line, the
port that it got (0 for a Unix socket), and then sets the status of services as lines on its standard input say, each
answered by a line `ok`: `SERVICE STATUS`, where SERVICE is `-` for the server as a whole and STATUS is SERVING,
NOT_SERVING or UNKNOWN. It ends with its standard input.

With EVENKEEL_NO_HEALTH in its environment it is a gRPC server without the health service, which answers UNIMPLEMENTED.
"""

import os
import sys
from concurrent import futures

# This file has the name of a package that it needs.
sys.path.pop(0)

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc


def main():
    address, pair = sys.argv[1], sys.argv[2:]
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    servicer = health.HealthServicer()
    if "EVENKEEL_NO_HEALTH" not in os.environ:
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    if pair:
        certificate, key = (open(path, "rb").read() for path in pair)
        port = server.add_secure_port(address, grpc.ssl_server_credentials([(key, certificate)]))
    else:
        port = server.add_insecure_port(address)
    server.start()
    print(port if not address.startswith("unix:") else 0, flush=True)
    for line in sys.stdin:
        service, status = line.split()
        status = health_pb2.HealthCheckResponse.ServingStatus.Value(status)
        servicer.set("" if service == "-" else service, status)
        print("ok", flush=True)
    server.stop(None)


if __name__ == "__main__":
    main()
