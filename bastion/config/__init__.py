"""What an operator has decided: declared once, read strictly, one value (L2)."""

from bastion.config.load import Config, load

__all__ = ["Config", "load"]
