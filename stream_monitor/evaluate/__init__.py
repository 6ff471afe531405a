"""How good detection is: false alarms without change, delays after one, labelled streams. Pure functions of seeds."""
