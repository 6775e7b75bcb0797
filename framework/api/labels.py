"""Labels that the API reads."""

DEADLINE_LABEL = "DROMOS_DEPLOYMENT_DEADLINE"  # seconds
ON_FAILURE_LABEL = "DROMOS_DEPLOYMENT_ON_FAILURE"  # stop | rollback
