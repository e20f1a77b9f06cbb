"""The parts of jobs/extend_prompts.py, which lets a local language model write longer prompts."""
