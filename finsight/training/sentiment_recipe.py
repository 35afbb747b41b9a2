"""How a sentiment model is trained: every number that a run can be given."""

from __future__ import annotations

from dataclasses import dataclass

from finsight.domain.errors import InvalidInput


@dataclass(frozen=True)
class SentimentRecipe:
    """How a sentiment model is trained.

    Units:
        batch: texts of one forward pass of one worker; `accumulate` passes make a step.
        warmup: the share of all steps over which the learning rate rises.
        patience: epochs without a better macro-F1 after which training stops.
        class_weighting: 0 counts each text once, 1 each class once; between, a blend.
        averaging: how much of the running average of the weights a step keeps; 0 takes
            the newest weights.
        keep_last: keep the last epoch, not the one with the best macro-F1 on validation.
        r_drop: how much it costs that two passes of one text, under different dropout,
            answer differently; 0 makes one pass.
        adversarial: how far token embeddings are pushed, a text, towards a worse answer
            that must be right as well; 0 leaves them alone.
        soup: trainings of the task from the same first weights, by other orders and other
            dropout, whose weights are averaged into the model.
        teachers: models trained each without another part of the training texts, whose
            answers on it become its soft labels; 0, or at least 2.
        teacher_share: what the teachers' answer counts against the label, in [0, 1].
        compare_figures: mark which of two figures is the higher one, in training and serving.
        pretraining_epochs, pretraining_learning_rate: for texts without labels.
    """

    base: str = "compact"
    lora_rank: int | None = None
    epochs: int = 4
    batch: int = 32
    accumulate: int = 1
    learning_rate: float = 5e-5
    warmup: float = 0.1
    patience: int = 2
    class_weighting: float = 0.5
    label_smoothing: float = 0.05
    max_tokens: int = 256
    seed: int = 0
    threads: int = 1
    averaging: float = 0.995
    keep_last: bool = False
    r_drop: float = 0.0
    adversarial: float = 0.0
    soup: int = 1
    teachers: int = 0
    teacher_share: float = 0.5
    compare_figures: bool = True
    pretraining_epochs: int = 1
    pretraining_learning_rate: float = 3e-4

    def check(self) -> None:
        """Raises: InvalidInput (says which number is wrong and what is expected)."""
        for name in ("epochs", "batch", "accumulate", "soup", "pretraining_epochs"):
            if getattr(self, name) < 1:
                raise InvalidInput(f"{name} is {getattr(self, name)}; expected at least 1")
        if not 0 < self.learning_rate < 1:
            raise InvalidInput(
                f"the learning rate is {self.learning_rate}; expected above 0 and below 1"
            )
        if not 0 < self.pretraining_learning_rate < 1:
            raise InvalidInput(
                f"the learning rate of the pretraining is {self.pretraining_learning_rate}; "
                "expected above 0 and below 1"
            )
        for name in ("averaging", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise InvalidInput(
                    f"{name} is {getattr(self, name)}; expected at least 0 and below 1"
                )
        for name in ("r_drop", "adversarial"):
            if not getattr(self, name) >= 0:
                raise InvalidInput(f"{name} is {getattr(self, name)}; expected 0 or more")
        if self.teachers < 0 or self.teachers == 1:
            raise InvalidInput(f"teachers is {self.teachers}; expected 0, or at least 2")
        if not 0 <= self.teacher_share <= 1:
            raise InvalidInput(f"teacher_share is {self.teacher_share}; expected 0 to 1")


RECIPE_HELP = {
    "epochs": "At most; macro-F1 may stop it earlier.",
    "patience": "Epochs without a better macro-F1 before it stops.",
    "batch": "Texts of one forward pass of one worker.",
    "accumulate": "Passes of one step.",
    "warmup": "The share of all steps over which the learning rate rises.",
    "class_weighting": "0 counts each text once, 1 each class once.",
    "label_smoothing": "How far labels are doubted, all alike.",
    "max_tokens": "Tokens of a text that are learnt from.",
    "averaging": "How much of the weights' running average a step keeps; 0: none.",
    "r_drop": "What it costs that two passes of a text differ; 0: one pass.",
    "adversarial": "How far embeddings are pushed to a worse answer; 0: not.",
    "soup": "Trainings whose weights are averaged; 1: one.",
    "teachers": "Models of its own kind to learn soft labels from; 0, or 2 and more.",
    "teacher_share": "What the teachers' answer counts against the label.",
    "pretraining_epochs": "Epochs over the texts without labels.",
    "pretraining_learning_rate": "The learning rate for these.",
    "seed": "Decides splits, first weights and order.",
    "threads": "Threads of one worker.",
}
"""The numbers of a recipe that are options, and what each does."""
