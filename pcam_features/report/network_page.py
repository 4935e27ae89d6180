"""The report of a training: its learning curves, and how the network was trained."""

from __future__ import annotations

from pathlib import Path

from ..networks.manifest import NetworkManifest
from ..storage.costs import FIELDS, Cost
from ..storage.files import write_text
from ..words import counted
from . import charts, tables
from .charts import Chart, Figure
from .html import Page, paragraph, table


def write(path: Path, network: NetworkManifest, cost: Cost) -> None:
    """Write the report of a training, whole or not at all.

    Parameters
    ----------
    path
        The HTML file.
    network
        The network's manifest.
    cost
        What the training cost.
    """
    write_text(path, page(network, cost))


def page(network: NetworkManifest, cost: Cost) -> str:
    """The report as HTML."""
    made = Page()
    made.section("auc", "AUC", made.show(auc_chart(network), opened=True))
    made.section("loss", "Loss", made.show(loss_chart(network)))
    known = {name: tables.cost(name, cost.to_dict()) for name in FIELDS if name in cost.to_dict()}
    if known:
        rows = [(FIELDS[name], value) for name, value in known.items()]
        made.section("cost", "Cost", table("Cost of the training", ("cost", "value"), rows))
    made.section(
        "protocol",
        "Protocol",
        table("Settings of the training", ("setting", "value"), settings(network)),
        *(paragraph(sentence) for sentence in protocol(network)),
    )
    lead = (
        f"AUC {network.held_out_auc:.4f} on the held-out fold, with the weights after epoch "
        f"{network.best_epoch} of {len(network.curve)}. This fold chose the epoch, so the AUC is "
        "slightly optimistic."
    )
    title = f"pcam deep fit: {network.network}"
    return made.html(title, f"Training of {network.network}", lead, [])


def curve(name: str, values: list[float], k: int) -> Figure:
    """A line through the values of all epochs."""
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "x": list(range(1, len(values) + 1)),
        "y": [round(value, 5) for value in values],
        "line": charts.line(k),
        "hovertemplate": f"epoch %{{x}}: %{{y:.4f}}<extra>{name}</extra>",
    }


def epochs_axis(network: NetworkManifest) -> Figure:
    """An axis of whole epochs."""
    count = len(network.curve)
    return {"range": [0.5, count + 0.5], "dtick": max(1, count // 12)}


def auc_chart(network: NetworkManifest) -> Chart:
    """The AUC of training patches and of the held-out fold after each epoch, with the best marked."""
    best = network.curve[network.best_epoch - 1]
    mark = {
        "type": "scatter",
        "mode": "markers",
        "name": "best epoch",
        "x": [network.best_epoch],
        "y": [round(best.auc, 5)],
        "marker": {"symbol": "diamond", "size": 13, "color": charts.color(0)},
        "hoverinfo": "skip",
    }
    data = [
        curve("held-out fold", [epoch.auc for epoch in network.curve], 0),
        curve("training patches", [epoch.training_auc for epoch in network.curve], 1),
        mark,
    ]
    return Chart(
        "auc-curve",
        "AUC by epoch",
        "Held-out patches are scored after each epoch, in one view. Training patches are scored while "
        "they are trained on, flipped, rotated and changed in stain. A growing distance between the "
        "curves shows that the network overfits the training patches.",
        {"data": data, "layout": charts.layout(420, "epoch", "AUC", xaxis=epochs_axis(network))},
        ("epoch", "held-out AUC", "training AUC"),
        [
            (str(number), f"{epoch.auc:.4f}", f"{epoch.training_auc:.4f}")
            for number, epoch in enumerate(network.curve, 1)
        ],
    )


def loss_chart(network: NetworkManifest) -> Chart:
    """The mean training loss of each epoch."""
    losses = [epoch.loss for epoch in network.curve]
    smoothed = f", with labels smoothed by {network.smoothing:g}" if network.smoothing else ""
    shown = charts.layout(
        360, "epoch", "loss", xaxis=epochs_axis(network), yaxis={"rangemode": "tozero"}
    )
    return Chart(
        "loss-curve",
        "Training loss by epoch",
        f"The mean cross-entropy of the training patches{smoothed}.",
        {"data": [curve("training loss", losses, 1)], "layout": shown},
        ("epoch", "training loss"),
        [(str(number), f"{loss:.4f}") for number, loss in enumerate(losses, 1)],
    )


def settings(network: NetworkManifest) -> list[tuple[str, str]]:
    """The settings of the training, as rows of a table."""
    how = network.how
    rows = [
        ("network", network.network),
        ("started from", network.started_from),
        ("epochs", f"at most {how.epochs:,}; stop after {how.patience:,} without improvement"),
        ("batch", counted(how.batch, "patch")),
        ("optimizer", f"{network.optimizer}, weight decay {network.decay:g}"),
        ("highest learning rate", f"{how.rate:g}"),
    ]
    if network.body_rate < 1:
        rows.append(("learning rate below the head", f"{network.body_rate:g} of it"))
    if network.smoothing:
        rows.append(("label smoothing", f"{network.smoothing:g}"))
    if network.averaging:
        rows.append(("moving average of the weights", f"decay {network.averaging:g}"))
    return [
        *rows,
        ("views averaged in a prediction", str(network.views)),
        ("seed", str(how.seed)),
        ("device", f"{how.device}, {counted(how.threads, 'thread')}"),
    ]


def protocol(network: NetworkManifest) -> list[str]:
    """The data, folds and versions, in sentences."""
    source, folds = network.source, network.folds
    versions = ", ".join(f"{name} {version}" for name, version in network.versions.items())
    return [
        f"Data: {counted(source.rows, 'patch')} of split {source.split} of {source.source.path}, "
        f"{network.positive:,} of them positive.",
        f"Folds: {folds.count}, {folds.protocol}; fold {folds.held_out} was held out.",
        f"Made with pcam {network.pcam_version}; versions: {versions}.",
    ]
