"""What is trained: the model, its throw-away heads, and their losses."""

from pathlib import Path

import torch
from torch.nn import functional
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from llava_interleave_serve.demo import architecture, tokenizer
from llava_interleave_serve.demo.scenes.questions import TOPICS
from llava_interleave_serve.demo.training.batches import FAMILIES
from llava_interleave_serve.demo.training.labels import PAIR_LABELS, PATCH_LABELS, ROW_LABELS, UNKNOWN
from llava_interleave_serve.demo.training.lessons import COUNTED
from llava_interleave_serve.demo.training.stages import HOLD

ROW_LAYER = 2  # of the language model: after how many layers the rows know ROW_LABELS
PAIR_LAYER = 3  # and PAIR_LABELS, and the answers what they are about
LOOKING, TALLYING = slice(0, 2), slice(2, 4)  # heads of the layer after PAIR_LAYER
POSITION_STD = 0.6


class Trainee(torch.nn.Module):
    """The model and its throw-away heads."""

    def __init__(self, model: LlavaForConditionalGeneration) -> None:
        super().__init__()
        self.model = model
        width = model.config.vision_config.hidden_size
        self.patch_head = torch.nn.Linear(width, sum(PATCH_LABELS.values()))
        width = model.config.text_config.hidden_size
        self.row_head = torch.nn.Linear(width, sum(ROW_LABELS.values()))
        self.pair_head = torch.nn.Linear(width, sum(PAIR_LABELS.values()))
        self.topic_head = torch.nn.Linear(width, len(TOPICS))
        # Heads that know nothing yet ask nothing of the model, which may know much.
        for head in (self.patch_head, self.row_head, self.pair_head, self.topic_head):
            torch.nn.init.zeros_(head.weight)
        # The tower as it was before it learned letters, whose features of plain pictures are to stay.
        self.tower_before: list[torch.nn.Module] = []  # a list, since it is no part of what is trained and saved

    def tower(self, pictures: torch.Tensor, before: bool = False) -> torch.Tensor:
        """The hidden state before post_layernorm, float32 [n, patches, hidden], of uint8 pictures [n, 3, S, S]."""
        tower = self.tower_before[0] if before else self.model.model.vision_tower
        hidden = tower.embeddings(pictures.float() / 127.5 - 1.0)
        return tower.encoder(inputs_embeds=hidden).last_hidden_state

    def tower_loss(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, float]]:
        features = self.tower(batch["pixels"])
        logits = self.patch_head(features)
        labels = batch["labels"]
        weight = 1.0 + 3.0 * (labels[..., 0] > 0).float().flatten()
        marked = labels[..., 2] > 0
        loss, figures = self.held(features, batch)
        parts = logits.split(tuple(PATCH_LABELS.values()), -1)
        for at, (name, part) in enumerate(zip(PATCH_LABELS, parts, strict=True)):
            losses = functional.cross_entropy(part.flatten(0, 1), labels[..., at].flatten(), reduction="none")
            loss = loss + (losses * weight).mean()
            figures[name] = (part.argmax(-1) == labels[..., at])[marked].float().mean().item()
        return loss, figures

    def held(self, features: torch.Tensor, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, float]]:
        """How far the features of plain pictures moved from what they were, and the language model can read."""
        if not self.tower_before:
            return torch.zeros(()), {}
        with torch.no_grad():
            before = self.tower(batch["pixels"][batch["plain"]], before=True)
        moved = functional.mse_loss(features[batch["plain"]], before) / before.var()
        return HOLD * moved, {"moved": moved.item()}

    def answer_loss(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, float]]:
        """Next-token loss on the answers, and that of the heads.

        An answer is right if each of its tokens is the likeliest after the right ones before it.
        """
        model, inner = self.model, self.model.model
        with torch.no_grad():
            features = self.tower(batch["pixels"])
        rows = inner.multi_modal_projector(features[batch["kept"]]).float()
        tokens = batch["tokens"]
        is_image = tokens == model.config.image_token_index
        embeddings = inner.language_model.embed_tokens(tokens)
        embeddings = embeddings.masked_scatter(is_image[..., None], rows)
        out = inner.language_model(
            inputs_embeds=embeddings,
            position_ids=batch["positions"],
            # Without a mask, transformers takes gaps in the positions for the borders of packed sequences.
            attention_mask=torch.ones_like(tokens),
            output_hidden_states=True,
            output_attentions=True,
            use_cache=False,
        )
        learned = batch["answers"][:, 1:] >= 0
        logits = model.lm_head(out.last_hidden_state[:, :-1][learned])
        targets, answers = tokens[:, 1:][learned], batch["answers"][:, 1:][learned]
        answer = functional.cross_entropy(logits, targets)
        right = torch.ones(len(batch["families"]))
        right[answers[logits.argmax(-1) != targets]] = 0.0
        known: dict[str, torch.Tensor] = {}
        for head, layer, names in (
            (self.row_head, ROW_LAYER, ROW_LABELS),
            (self.pair_head, PAIR_LAYER, PAIR_LABELS),
        ):
            logits = head(functional.rms_norm(out.hidden_states[layer][is_image], (rows.shape[-1],)))
            for name, part in zip(names, logits.split(tuple(names.values()), -1), strict=True):
                labels = batch["labels"][:, len(known)]
                losses = functional.cross_entropy(part, labels, reduction="sum", ignore_index=UNKNOWN)
                known[name] = losses / (labels != UNKNOWN).sum().clamp(min=1)
        asking = self.topic_head(functional.rms_norm(out.hidden_states[PAIR_LAYER][:, :-1][learned], (rows.shape[-1],)))
        known["topic"] = functional.cross_entropy(asking, batch["topics"][answers])
        attention = out.attentions[PAIR_LAYER][:, :, :-1].transpose(1, 2)[learned]
        known |= self.attention_losses(attention, answers, batch["steps"][:, 1:][learned], batch)
        loss = answer + 0.2 * torch.stack(list(known.values())).sum()
        figures = {"answer": answer.item()} | {name: part.item() for name, part in known.items()}
        for family in batch["families"].unique():
            figures[f"right_{FAMILIES[family]}"] = right[batch["families"] == family].mean().item()
        return loss, figures

    def attention_losses(
        self, attention: torch.Tensor, answers: torch.Tensor, steps: torch.Tensor, batch: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """What two pairs of heads of the layer after PAIR_LAYER are taught, of attention [n, heads, tokens].

        The first look at the patches that tell the step of the answer. The second, where something is counted, look at
        the first token and at all that is counted, alike: of n things, the first token's share is 1 / (n + 1).
        """
        told = batch["looks"][steps][:, None]
        found = (attention[:, LOOKING] * told).sum(-1)[told.any(-1)[:, 0]]
        is_count = torch.isin(batch["families"][answers], torch.tensor([FAMILIES.index(name) for name in COUNTED]))
        tally = batch["tallies"][answers][is_count].float()
        tally[:, 0] = 1.0
        shares = (attention[is_count][:, TALLYING] + 1e-6).log() * (tally / tally.sum(-1, keepdim=True))[:, None]
        return {
            "looks": -(found + 1e-6).log().mean() if found.numel() else torch.zeros(()),
            "tally": -shares.sum(-1).mean() if shares.numel() else torch.zeros(()),
        }

    @torch.no_grad()
    def centre_projector(self, pictures: torch.Tensor) -> None:
        """Starts the projector on features of mean 0 and deviation 1, by folding both into its first layer."""
        features = self.tower(pictures).flatten(0, 1)
        first = self.model.model.multi_modal_projector.linear_1
        first.weight.normal_(0.0, first.in_features**-0.5).div_(features.std(0))
        first.bias.copy_(-first.weight @ features.mean(0))
        self.model.model.multi_modal_projector.linear_2.weight.normal_(0.0, first.out_features**-0.5)


def new_trainee(tokeniser: PreTrainedTokenizerFast) -> Trainee:
    torch.manual_seed(0)
    image, end = (tokeniser.convert_tokens_to_ids(token) for token in ("<image>", "<|im_end|>"))
    config = architecture.config(len(tokeniser), image, end, tokeniser.pad_token_id)
    config._attn_implementation = "eager"  # the others do not tell their attention
    model = LlavaForConditionalGeneration(config)
    # Where a patch stands must survive next to what it shows, or nothing can be said of motion.
    torch.nn.init.normal_(model.model.vision_tower.embeddings.position_embedding.weight, std=POSITION_STD)
    return Trainee(model)


def begin_with(trainee: Trainee, checkpoint: Path, tokeniser: PreTrainedTokenizerFast) -> None:
    """Loads a checkpoint's weights. The row of a token that it lacks is the mean of those that made up its text."""
    trained = LlavaForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32)
    before = tokenizer.of(checkpoint)
    rows = trained.get_input_embeddings().weight.detach()
    texts = [tokeniser.decode([number]) for number in range(len(before), len(tokeniser))]
    added = [rows[before.encode(text, add_special_tokens=False)].mean(0) for text in texts]
    trained.resize_token_embeddings(len(tokeniser), mean_resizing=False)
    if added:
        trained.get_input_embeddings().weight.data[len(before) :] = torch.stack(added)
    trainee.model.load_state_dict(trained.state_dict())
