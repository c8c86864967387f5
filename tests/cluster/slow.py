"""A proxy before etcd that answers late: the kernel here has no netem.

    python -I -S slow.py ADDRESS DELAY-FILE PORT TARGET-PORT

Each piece of an answer is held back for as many seconds as the file says, now; a file that is not there says 0.
"""

import asyncio
import sys
from pathlib import Path


def delay(file: Path) -> float:
    try:
        return float(file.read_text())
    except (OSError, ValueError):
        return 0.0


async def pipe(source: asyncio.StreamReader, target: asyncio.StreamWriter, file: Path | None) -> None:
    try:
        while data := await source.read(65536):
            if file and (seconds := delay(file)):
                await asyncio.sleep(seconds)
            target.write(data)
            await target.drain()
    except OSError:
        pass
    finally:
        target.close()


async def main() -> None:
    address, file, port, target = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, onward = await asyncio.open_connection(address, target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(pipe(reader, onward, None), pipe(there, writer, file))

    server = await asyncio.start_server(serve, address, port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
