"""From words to numbers: text encoders and, later, prompt refiners."""
