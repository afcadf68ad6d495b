"""What the engine and the page hand each other through run_dir: health, requests and the page's trigger."""
