"""What an operator has decided: declared once, read strictly, one value (L2). `load.load` reads all of it."""
