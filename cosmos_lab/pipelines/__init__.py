"""From prompts and pictures to clips: the four tasks, their result, and making it again."""
