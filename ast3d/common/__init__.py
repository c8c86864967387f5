"""What daemons and the operator's command share: clock, files, log, configuration, control, folders."""
