"""Frames, the pools that all nodes share, and the products: who computed a frame, and that it was accepted once."""

from dataclasses import dataclass, field


@dataclass
class Sky:
    """`pool`: telescope -> frames that wait, oldest first; `fence`: telescope -> the greatest (epoch, token) at work."""

    pool: dict[str, list[int]] = field(default_factory=dict)
    taken: int = 0
    accepted: set[tuple[str, int]] = field(default_factory=set)
    doubly: int = 0  # computed by two
    refused: int = 0
    fence: dict[str, tuple[int, int]] = field(default_factory=dict)

    def take(self, telescope: str) -> None:
        """A camera delivers a frame."""
        self.taken += 1
        self.pool.setdefault(telescope, []).append(self.taken)

    def raise_fence(self, telescope: str, epoch: int, token: int) -> None:
        """Who begins to work says under which claim."""
        self.fence[telescope] = max(self.fence.get(telescope, (0, 0)), (epoch, token))

    def refuses(self, telescope: str, epoch: int, token: int, *, own: bool) -> bool:
        """As `ast3d.fence` does."""
        greatest = self.fence.get(telescope, (0, 0))
        return greatest[0] > epoch if own else greatest > (epoch, token)

    def publish(self, telescope: str, frame: int) -> None:
        """The rename: the first one wins, and the frame leaves the pool."""
        if (telescope, frame) in self.accepted:
            self.doubly += 1
            return
        self.accepted.add((telescope, frame))
        self.pool[telescope].remove(frame)
