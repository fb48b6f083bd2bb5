-- For how long this store has had its data, in milliseconds.
return age_ms(now_ms())
