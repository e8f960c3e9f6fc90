"""The dossier of a type: what a reviewer asks for, on several texts, beside types of similar size."""
