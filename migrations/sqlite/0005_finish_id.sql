-- Which call of the finisher ended a run: one whose reply is lost asks again under the same id and is told.

ALTER TABLE runs ADD COLUMN finish_id TEXT;
