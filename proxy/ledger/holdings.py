"""What each key has reserved through this process. It decides how much of a shared budget the key may reserve next."""

from collections import Counter
from collections.abc import Iterable

from proxy.records import LeaseEnd, Record, Settlement


class Holdings:
    """The open reservations of keys. Requests without a key hold nothing here, because nobody can tell them apart."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[str, int]] = {}
        self._by_key: Counter[str] = Counter()

    def now(self) -> Counter[str]:
        """Return what each key holds, in nano-USD. The caller may change it."""
        return self._by_key.copy()

    def add(self, reservation_id: str, key: str, amount: int) -> None:
        """Note a reservation."""
        if key:
            self._open[reservation_id] = key, amount
            self._by_key[key] += amount

    def draw(self, lease: str, reservation_id: str, amount: int) -> None:
        """Move an amount from a lease to a reservation. What the key holds stays the same."""
        if lease in self._open:
            key, before = self._open.pop(lease)
            self._open[reservation_id] = key, amount
            if before > amount:
                self._open[lease] = key, before - amount

    def settle(self, records: Iterable[Record]) -> None:
        """Forget the reservations that these records settle, and the leases that they end."""
        for record in records:
            if isinstance(record, Settlement):
                self._forget(record.reservation_id)
            elif isinstance(record, LeaseEnd):
                self._forget(record.lease)

    def _forget(self, id_: str) -> None:
        key, amount = self._open.pop(id_, ("", 0))
        self._by_key[key] -= amount
        if not self._by_key[key]:
            del self._by_key[key]
