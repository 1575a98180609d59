"""Supervised fine-tuning with TRL and PEFT."""
