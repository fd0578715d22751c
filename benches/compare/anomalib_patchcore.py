"""anomalib's own PatchCore, for `compare.py --against anomalib` and `--against anomalib-default`.

`anomalib` runs it on the backbone of `models/`, turned into a torch module, with the same images at
the same size. `anomalib-default` runs it as anomalib ships it, wide_resnet50_2 at 256 x 256 pixels, but
with random weights: its weights are a download, and speed, memory and the size of the bank do not
depend on them. Its accuracies mean nothing and are left out.
"""

import numpy
import torch
from anomalib.models.image.patchcore.torch_model import PatchcoreModel
from PIL import Image

# What anomalib's default transform resizes to and normalises with.
DEFAULT_SIDE = 256
DEFAULT_MEAN, DEFAULT_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Backbone(torch.nn.Module):
    """Feature maps of an ONNX backbone by their names, as anomalib's feature extractor gives them."""

    def __init__(self, model, outputs, named):
        super().__init__()
        import onnx
        from onnx2torch import convert

        self.network = convert(onnx.load(model))
        self.places = {name: named.index(name) for name in outputs}

    def forward(self, pixels):
        maps = self.network(pixels)
        return {name: maps[place] for name, place in self.places.items()}


class AnomalibPatchCore:
    """The interface of `compare.PatchCore`; `ours` prepares images and knows the manifest."""

    def __init__(self, ours, model, default, threads):
        torch.set_num_threads(threads)
        self.ours, self.default = ours, default
        if default:
            self.model = PatchcoreModel(layers=["layer2", "layer3"], pre_trained=False)
        else:
            # Any backbone of timm stands in until it is replaced: the model wants a name.
            self.model = PatchcoreModel(layers=["layer1"], backbone="resnet18", pre_trained=False)
            named = [output["name"] for output in ours.spec["outputs"]]
            outputs = ours.spec["features"]["outputs"]
            self.model.layers = outputs
            self.model.feature_extractor = Backbone(model, outputs, named).eval()
        self.model.feature_extractor.requires_grad_(False)

    def input(self, path):
        if not self.default:
            pixels, size = self.ours.input(path)
            return torch.from_numpy(pixels), size
        image = Image.open(path).convert("RGB")
        pixels = numpy.asarray(image.resize((DEFAULT_SIDE, DEFAULT_SIDE)), "f4") / 255
        pixels = (pixels - numpy.float32(DEFAULT_MEAN)) / numpy.float32(DEFAULT_STD)
        return torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy()), image.size

    @torch.no_grad()
    def fit(self, paths):
        self.model.train()
        self.model.feature_extractor.eval()
        for path in paths:
            self.model(self.input(path)[0])
        self.model.subsample_embedding(0.1)
        self.model.eval()
        self.bank = self.model.memory_bank.numpy()

    @torch.no_grad()
    def score(self, path):
        """Image score and the anomaly map at the input's size."""
        pixels, size = self.input(path)
        found = self.model(pixels)
        return float(found.pred_score), found.anomaly_map[0, 0].numpy(), size
