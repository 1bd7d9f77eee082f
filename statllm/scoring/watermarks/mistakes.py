"""The mistakes that a diagnosis knows, and what to do about each."""

from __future__ import annotations

from collections.abc import Mapping

AS_DEPLOYED = "as deployed"
WRONG_KEY = "wrong key"
WRONG_SETTINGS = "wrong settings"
WRONG_TOKENIZER = "wrong tokenizer"
WRONG_VOCABULARY = "wrong vocabulary size"
PROMPT = "prompt included"
PROMPT_MISSING = "prompt missing"
SPECIAL = "special tokens"
DEVICE = "device-generated"
UNKNOWN_KEY = "unlisted key"
TOO_LITTLE = "too little to see"
NOTHING = "nothing found"

ADVICE: Mapping[str, str] = {
    AS_DEPLOYED: "Nothing to mend: the deployed configuration explains the text.",
    WRONG_KEY: "Detect with the configuration that explains the text.",
    WRONG_SETTINGS: "Set these options in the key file; they must be those of the generator.",
    WRONG_TOKENIZER: "Detect on the generator's own token ids, or re-encode texts with its "
    "tokenizer.",
    WRONG_VOCABULARY: "Set 'vocabulary' to the size of the model's logits, padding included.",
    PROMPT: "Detect on the completion alone: cut the prompt's tokens off.",
    PROMPT_MISSING: "Put the prompt's last tokens before each text, as many as the context is "
    "wide: its first tokens count then, too.",
    SPECIAL: "Give the detector what the generator had before each token: with the special tokens "
    "(beginning of text, end of turn) that were there, and without others.",
    DEVICE: "The lists were drawn by a CUDA generator, which a CPU doesn't repeat: generate with "
    "the processor's generator on the CPU, or detect on the device.",
    UNKNOWN_KEY: "Something makes equal contexts go on alike: a key that isn't listed, or a lower "
    "temperature than the reference's. Look for the key that the generator had.",
    TOO_LITTLE: "Collect more or longer texts, or text that is less predictable.",
    NOTHING: "Not under this key, and nothing else was found. Check that the generator had the "
    "watermark switched on, and give --try-keys, --try-tokenizer, --prompt or --reference.",
}
