"""A clinic that never was: nuclear-medicine files as cameras write them, made from phantoms."""
