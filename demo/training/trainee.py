"""The trained model with its auxiliary heads, and the losses of both.

The auxiliary heads name properties of patches and answers during training, and are no part of the checkpoint.
"""

from pathlib import Path

import torch
from torch.nn import functional
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from llava_interleave_serve.demo import architecture, tokenizer
from llava_interleave_serve.demo.scenes.questions import TOPICS
from llava_interleave_serve.demo.training import kv_heads
from llava_interleave_serve.demo.training.attention_targets import COUNTED
from llava_interleave_serve.demo.training.batches import FAMILIES
from llava_interleave_serve.demo.training.labels import PAIR_LABELS, PATCH_LABELS, ROW_LABELS, UNKNOWN

ROW_LAYER = 2  # the language model's layers after which ROW_LABELS are read from the visual rows
PAIR_LAYER = 3  # those after which PAIR_LABELS are, and the topic from the answers' tokens
STEP_HEADS, COUNT_HEADS = slice(0, 2), slice(2, 4)  # attention heads of the layer after PAIR_LAYER
POSITION_STD = 0.6


class Trainee(torch.nn.Module):
    """The model and its auxiliary heads."""

    def __init__(self, model: LlavaForConditionalGeneration) -> None:
        super().__init__()
        self.model = model
        width = model.config.vision_config.hidden_size
        self.patch_head = torch.nn.Linear(width, sum(PATCH_LABELS.values()))
        width = model.config.text_config.hidden_size
        self.row_head = torch.nn.Linear(width, sum(ROW_LABELS.values()))
        self.pair_head = torch.nn.Linear(width, sum(PAIR_LABELS.values()))
        self.topic_head = torch.nn.Linear(width, len(TOPICS))
        # A head of zeros sends no gradient into the model, whose weights may be trained already.
        for head in (self.patch_head, self.row_head, self.pair_head, self.topic_head):
            torch.nn.init.zeros_(head.weight)

    def tower(self, pictures: torch.Tensor) -> torch.Tensor:
        """Encodes uint8 pictures [n, 3, S, S] as the state before post_layernorm, float32 [n, patches, hidden]."""
        tower = self.model.model.vision_tower
        hidden = tower.embeddings(pictures.float() / 127.5 - 1.0)
        return tower.encoder(inputs_embeds=hidden).last_hidden_state

    def tower_loss(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, float]]:
        """The loss of `batches.tower_batch`, and figures for the log: the accuracy of each label at things' centres."""
        features = self.tower(batch["pixels"])
        logits = self.patch_head(features).float()
        labels = batch["labels"]
        weight = 1.0 + 3.0 * (labels[..., 0] > 0).float().flatten()
        is_centre = labels[..., 2] > 0
        loss, figures = torch.zeros(()), dict[str, float]()
        parts = logits.split(tuple(PATCH_LABELS.values()), -1)
        for column, (name, part) in enumerate(zip(PATCH_LABELS, parts, strict=True)):
            losses = functional.cross_entropy(part.flatten(0, 1), labels[..., column].flatten(), reduction="none")
            loss = loss + (losses * weight).mean()
            is_known = is_centre & (labels[..., column] != UNKNOWN)
            figures[name] = (part.argmax(-1) == labels[..., column])[is_known].float().mean().item()
        is_thing = labels[..., 0] > 0
        empty = ~is_thing.any(-1)
        if empty.any():
            figures["false"] = (parts[0].argmax(-1) > 0)[empty].any(-1).float().mean().item()
        return loss, figures

    def answer_loss(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, float]]:
        """The loss of `batches.conversation_batch`: next-token loss on the answers, and the auxiliary losses.

        The figures for the log have the share of right answers of each family; an answer is right if each of its tokens
        is the likeliest one, given the right ones before it.
        """
        model, inner = self.model, self.model.model
        with torch.no_grad():
            features = self.tower(batch["pixels"])
        grid, project = int(batch["grid"]), inner.multi_modal_projector
        if grid == architecture.GRID:
            rows = project(features[batch["patch_mask"]])
        else:
            rows = pooled(project(features), grid)[batch["patch_mask"]]
        tokens = batch["tokens"]
        is_image = tokens == model.config.image_token_index
        embeddings = inner.language_model.embed_tokens(tokens)
        embeddings = embeddings.masked_scatter(is_image[..., None], rows.to(embeddings.dtype))
        out = inner.language_model(
            inputs_embeds=embeddings,
            position_ids=batch["positions"],
            # Without a mask, transformers reads gaps in the positions as borders of packed sequences.
            attention_mask=torch.ones_like(tokens),
            output_hidden_states=True,
            output_attentions=True,
            use_cache=False,
        )
        is_answer = batch["answers"][:, 1:] >= 0
        logits = model.lm_head(out.last_hidden_state[:, :-1][is_answer]).float()
        targets, answers = tokens[:, 1:][is_answer], batch["answers"][:, 1:][is_answer]
        answer_loss = functional.cross_entropy(logits, targets)
        right = torch.ones(len(batch["families"]))
        right[answers[logits.argmax(-1) != targets]] = 0.0
        auxiliary: dict[str, torch.Tensor] = {}
        for head, layer, names in (
            (self.row_head, ROW_LAYER, ROW_LABELS),
            (self.pair_head, PAIR_LAYER, PAIR_LABELS),
        ):
            logits = head(functional.rms_norm(out.hidden_states[layer][is_image], (rows.shape[-1],))).float()
            for name, part in zip(names, logits.split(tuple(names.values()), -1), strict=True):
                labels = batch["labels"][:, len(auxiliary)]
                losses = functional.cross_entropy(part, labels, reduction="sum", ignore_index=UNKNOWN)
                auxiliary[name] = losses / (labels != UNKNOWN).sum().clamp(min=1)
        hidden = functional.rms_norm(out.hidden_states[PAIR_LAYER][:, :-1][is_answer], (rows.shape[-1],))
        auxiliary["topic"] = functional.cross_entropy(self.topic_head(hidden).float(), batch["topics"][answers])
        attention = out.attentions[PAIR_LAYER][:, :, :-1].transpose(1, 2)[is_answer].float()
        auxiliary |= self.attention_losses(attention, answers, batch["steps"][:, 1:][is_answer], batch)
        loss = answer_loss + 0.2 * torch.stack(list(auxiliary.values())).sum()
        figures = {"answer": answer_loss.item()} | {name: part.item() for name, part in auxiliary.items()}
        for family in batch["families"].unique():
            figures[f"right_{FAMILIES[family]}"] = right[batch["families"] == family].mean().item()
        return loss, figures

    def attention_losses(
        self, attention: torch.Tensor, answers: torch.Tensor, steps: torch.Tensor, batch: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Losses of two pairs of attention heads in the layer after PAIR_LAYER, for n tokens of answers.

        attention: float32 [n, heads, T], from each token that predicts one of an answer. answers, steps: int64 [n], the
        answer and the step that the predicted token is part of.

        STEP_HEADS learn to attend to the patches that tell the step. COUNT_HEADS learn, for the families in COUNTED, to
        attend equally to the first token and to every counted thing: with n things the first token gets 1 / (n + 1).
        """
        targets = batch["step_targets"][steps][:, None]
        attended = (attention[:, STEP_HEADS] * targets).sum(-1)[targets.any(-1)[:, 0]]
        is_count = torch.isin(batch["families"][answers], torch.tensor([FAMILIES.index(name) for name in COUNTED]))
        counted = batch["count_targets"][answers][is_count].float()
        counted[:, 0] = 1.0
        log_attention = (attention[is_count][:, COUNT_HEADS] + 1e-6).log()
        shares = log_attention * (counted / counted.sum(-1, keepdim=True))[:, None]
        return {
            "looks": -(attended + 1e-6).log().mean() if attended.numel() else torch.zeros(()),
            "tally": -shares.sum(-1).mean() if shares.numel() else torch.zeros(()),
        }

    @torch.no_grad()
    def centre_projector(self, pictures: torch.Tensor) -> None:
        """Initialises the projector; its first layer normalises the pictures' features to mean 0 and deviation 1.

        pictures: uint8 [n, 3, S, S].
        """
        features = self.tower(pictures).flatten(0, 1)
        first = self.model.model.multi_modal_projector.linear_1
        first.weight.normal_(0.0, first.in_features**-0.5).div_(features.std(0))
        first.bias.copy_(-first.weight @ features.mean(0))
        self.model.model.multi_modal_projector.linear_2.weight.normal_(0.0, first.out_features**-0.5)


def pooled(rows: torch.Tensor, grid: int) -> torch.Tensor:
    """Pools the rows of visuals bilinearly, as the server does.

    rows: float32 [n, patches, hidden]. Returns float32 [n, grid * grid, hidden].
    """
    if rows.shape[1] == grid**2:
        return rows
    square = rows.mT.unflatten(-1, (architecture.GRID, architecture.GRID))
    return functional.interpolate(square, size=(grid, grid), mode="bilinear").flatten(2).mT


def new_trainee(tokeniser: PreTrainedTokenizerFast) -> Trainee:
    """A model of the demo's architecture with random weights from a fixed seed."""
    torch.manual_seed(0)
    image, end = (tokeniser.convert_tokens_to_ids(token) for token in ("<image>", "<|im_end|>"))
    config = architecture.config(len(tokeniser), image, end, tokeniser.pad_token_id)
    config._attn_implementation = "eager"  # the other implementations do not return attention weights
    model = LlavaForConditionalGeneration(config)
    # Large position embeddings keep a patch's position in its features: questions about motion need it.
    torch.nn.init.normal_(model.model.vision_tower.embeddings.position_embedding.weight, std=POSITION_STD)
    return Trainee(model)


def load_start(trainee: Trainee, checkpoint: Path, tokeniser: PreTrainedTokenizerFast) -> None:
    """Takes the language model of a checkpoint of the same tokeniser.

    A KV head that several query heads share is repeated for each of the trainee's.

    Raises ValueError if the tokenisers differ.
    """
    if tokenizer.load_or_train(checkpoint).get_vocab() != tokeniser.get_vocab():
        raise ValueError(f"{checkpoint} has another tokeniser")
    start = LlavaForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32)
    language, config = start.model.language_model, trainee.model.config.text_config
    repeats = config.num_key_value_heads // language.config.num_key_value_heads
    weights = kv_heads.repeated(language.state_dict(), language.config.num_key_value_heads, repeats)
    trainee.model.model.language_model.load_state_dict(weights)
