"""The dossier of a type: what a reviewer asks for, on several kinds of text, beside types of similar size."""
