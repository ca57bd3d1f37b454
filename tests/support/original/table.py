"""Asks an engine every case of the vectors, and prints a table of how far its results are from the authors'.

`python -m tests.support.original.table`
"""

import numpy as np

from tests.support.original import cases, engine

HEADER = ("case", "tokens of visuals", "embeddings", "logits", "greedy", "with the penalty")


def replies() -> dict[str, engine.Reply]:
    """The engine's reply to each case, by its name."""
    found: dict[str, engine.Reply] = {}
    every = cases.all_cases()
    for checkpoint in sorted({case.checkpoint for case in every}):
        asked = [case for case in every if case.checkpoint == checkpoint]
        answered = engine.run(checkpoint, [question(case) for case in asked])
        found |= {case.name: reply for case, reply in zip(asked, answered, strict=True)}
    return found


def question(case: cases.Case) -> engine.Question:
    """A case with its visuals, asked without and with the penalty of its checkpoint."""
    image_token = case.config().image_token_index
    visuals = case.visuals()
    each = iter(visuals)
    ids: list[int] = []
    for token in case.token_ids(image_token):
        ids += [token] * (len(next(each)) if token == image_token else 1)
    flat = [visual for group in visuals for visual in group]
    penalty: float = case.record["greedy_with_repetition_penalty"]["penalty"]
    return engine.Question(ids, {"image": flat} if flat else {}, (1.0, penalty))


def row(case: cases.Case, reply: engine.Reply) -> tuple[str, ...]:
    """A case's line: the greatest difference of an embedding that the records keep, and of a logit; and its answers."""
    signature = cases.signature(reply.embeddings.numpy().astype(np.float64))[:, :4]
    embeddings = np.abs(signature - case.signatures[:, :4]).max()
    logits = np.abs(reply.logits.numpy()[:, : cases.ROWS] - case.logits).max()
    record = case.record
    wanted = [record["greedy"], record["greedy_with_repetition_penalty"]["tokens"]]
    equal = ["equal" if ours == theirs else "differ" for ours, theirs in zip(reply.outputs, wanted, strict=True)]
    tokens = ", ".join(str(visual["tokens"]) for visual in record["visuals"])
    return case.name, tokens or "-", f"{embeddings:.1e}", f"{logits:.1e}", *equal


def main() -> None:
    found = replies()
    lines = [HEADER, tuple("---" for _ in HEADER), *(row(case, found[case.name]) for case in cases.all_cases())]
    print("\n".join(f"| {' | '.join(line)} |" for line in lines))


if __name__ == "__main__":
    main()
