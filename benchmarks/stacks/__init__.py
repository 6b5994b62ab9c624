"""ZenML stacks in containers and on Airflow, set up from packages alone and measured for real."""
