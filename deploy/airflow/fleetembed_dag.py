"""A nightly run from Airflow 3: submits the job to a Ray cluster that is there, and follows its log.

``ray job submit`` ends with 1 where the job did not end with 0; ``errors.exit_code_on_dead: 0`` in the job keeps dead
letters from failing the task. A task that is retried goes on where the last try ended.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

SUBMIT = """
ray job submit --submission-id "docs-{{ ts_nodash }}-{{ ti.try_number }}" \
  -- fleetembed embed --config /home/ray/job.yaml
"""

with DAG(
    "fleetembed_docs",
    schedule="30 2 * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
):
    BashOperator(
        task_id="embed",
        bash_command=SUBMIT,
        append_env=True,
        # The token's file, and the address that `ray job submit` asks.
        env={
            "RAY_API_SERVER_ADDRESS": "http://ray-head.example.com:8265",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": "/etc/fleetembed/ray_token",
        },
        retries=2,
        retry_delay=timedelta(minutes=10),
        execution_timeout=timedelta(hours=20),
    )
