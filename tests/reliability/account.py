"""Accounts for calls: every one that was tried has to be answered correctly or refused."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Account:
    """The outcomes of the calls of one test."""

    tried: int = 0
    answered: int = 0
    """Each image right."""
    retried: int = 0
    """Further attempts of calls, those within gRPC not counted."""
    refused: int = 0
    """By a status that was to be expected."""
    losses: list[str] = field(default_factory=list)
    """What is wrong with the others: a status that was not, or an answer that is not right."""
    statuses: Counter[str] = field(default_factory=Counter)
    """Of the refused ones."""

    @property
    def is_complete(self) -> bool:
        """Whether every call has come to one of its ends."""
        return self.tried == self.answered + self.refused + len(self.losses)

    def refuse(self, status: str) -> None:
        """Note that a call ended as it may."""
        self.refused += 1
        self.statuses[status] += 1

    def close(self, loss: str | None) -> None:
        """Note that a call was answered; ``loss`` says what is wrong with the answer."""
        if loss is None:
            self.answered += 1
        else:
            self.losses.append(loss)

    def row(self) -> str:
        """Write the account as a row of the table at the end."""
        numbers = (self.tried, self.answered, self.retried, self.refused, len(self.losses))
        statuses = ", ".join(f"{count:,} {name}" for name, count in self.statuses.most_common())
        return "".join(f"{number:>10,}" for number in numbers) + f"  {statuses}".rstrip()


ROW = "account"
"""Name of the property of a test's report that has the row."""
TITLES = "".join(f"{title:>10}" for title in ("tried", "answered", "retried", "refused", "lost"))
