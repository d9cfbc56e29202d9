"""A nightly run from Airflow 3: submits the job to a Ray cluster that is there, and follows its log.

``ray job submit`` ends with 1 where the job did not end with 0; ``errors.exit_code_on_dead: 0`` in the job keeps dead
letters from failing the task. A task that is retried goes on where the last try ended.

A job outlives the command that submitted it, and holds the lease of its sinks. So a task that is ended, by a person or
by ``execution_timeout``, stops its job; where the worker itself was lost, the job runs on until the next try stops it.
After the last try nobody does: it ends by itself, or by ``ray job stop``, and the next run is refused until then.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

SUBMIT = """
run='docs-{{ run_id }}'
run="${run//[^A-Za-z0-9-]/-}"
job="$run-{{ ti.try_number }}"
for before in $(seq 1 {{ ti.try_number - 1 }}); do
  ray job stop "$run-$before" || true
done
# In the background, and waited for: bash would else look at the signal only when the command has ended.
trap 'kill "$!" 2>/dev/null; ray job stop "$job"; exit 143' TERM
ray job submit --submission-id "$job" -- fleetembed embed --config /home/ray/job.yaml &
wait "$!"
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
