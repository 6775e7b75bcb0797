"""Where the registrator learns what runs. Each source gives complete looks, and hints that something may have changed."""
