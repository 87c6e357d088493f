"""What runs in the task's process: from the rendered operator to the protocol, and from the protocol to Airflow."""
