"""A layer of any model: attention and an MLP, with norms where the model has them."""

import flax.linen as nn

from moral_jax.models.cache import Continued
from moral_jax.models.layers import Attention, LayerInputs, Mlp, Positions, normalisation
from moral_jax.models.mask import take_positions
from moral_jax.models.spec import ComputeOptions, Spec
from moral_jax.sharding import constrain
from moral_jax.types import Array, Tokens


class Block(nn.Module):
    """One layer. With `read_BA` it returns these positions only; all others contribute just keys and values."""

    spec: Spec
    compute: ComputeOptions
    is_first: bool = False

    @nn.compact
    def __call__(
        self,
        x_BTD: Array,
        layer: LayerInputs | None,
        places: Positions,
        tokens: Tokens | Continued,
        read_BA: Array | None = None,
    ) -> tuple[Array, None]:
        s, mesh = self.spec, self.compute.mesh
        attention = Attention(s, self.compute, name="attention")
        mlp = Mlp(s.mlp_width, s.activation, s.gated, s.fused, s.mlp_bias, self.compute, name="mlp")

        def normed(x_BTD: Array, name: str, where: tuple[str, ...]) -> Array:
            return normalisation(s, name)(x_BTD) if s.norms in where else x_BTD

        def read(x_BTD: Array) -> Array:
            return x_BTD if read_BA is None else take_positions(x_BTD, read_BA)

        bare = self.is_first and s.first_apart
        h_BTD = x_BTD if bare else normed(x_BTD, "attention_norm", ("before", "both", "parallel"))
        attended_BTD = attention(h_BTD, layer, places, tokens, read_BA)
        attended_BTD = normed(attended_BTD, "attention_out_norm", ("after", "both"))
        x_BTD = constrain(normed(read(x_BTD) + attended_BTD, "attention_norm", ("sum",)), "BTD", mesh)
        h_BTD = read(h_BTD) if s.norms == "parallel" else normed(x_BTD, "mlp_norm", ("before", "both"))
        x_BTD = x_BTD + normed(mlp(h_BTD), "mlp_out_norm", ("after", "both"))
        return constrain(normed(x_BTD, "mlp_norm", ("sum",)), "BTD", mesh), None
