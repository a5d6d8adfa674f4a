"""lightning-meta: meta-learning at scale.

    phi = learner.adapt(episode.support)      # phi_i = f_theta(D_i^tr), theta the parameters of `learner`
    logits = phi(episode.query.x)             # y = f_phi(x)

The floors, from the bottom: `core` (the formula as types), `nn` (backbones, inner loop), `learners` (the algorithms),
`training` (Lightning), `datamodules` (streams of tasks), `cli` (one command). Imports go down only.
"""

from lightning_meta.mismatch import watch

watch()
