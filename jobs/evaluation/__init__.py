"""How a frozen encoder is judged."""
