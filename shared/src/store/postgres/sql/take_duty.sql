-- Takes a duty on that nobody has, or whose term is over, and renews that of its holder. $1 which, $2 who, $3 for how
-- long (ms). Changes a row if it is the holder's now.
INSERT INTO duties AS d (name, holder, until)
VALUES ($1, $2, now() + $3::bigint * interval '1 ms')
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
WHERE d.holder = excluded.holder OR d.until <= now()
