package tokens

decision["decode"] := io.jwt.decode(input.token)

decision["hs"] := [
	io.jwt.verify_hs256(input.token, input.secret),
	io.jwt.verify_hs384(input.token, input.secret),
	io.jwt.verify_hs512(input.token, input.secret),
]

decision["rs"] := [
	io.jwt.verify_rs256(input.token, input.key),
	io.jwt.verify_rs384(input.token, input.key),
	io.jwt.verify_rs512(input.token, input.key),
]

decision["ps"] := [
	io.jwt.verify_ps256(input.token, input.key),
	io.jwt.verify_ps384(input.token, input.key),
	io.jwt.verify_ps512(input.token, input.key),
]

decision["es256"] := io.jwt.verify_es256(input.token, input.key)

decision["es384"] := io.jwt.verify_es384(input.token, input.key)

decision["es512"] := io.jwt.verify_es512(input.token, input.key)

decision["eddsa"] := io.jwt.verify_eddsa(input.token, input.key)

decision["decode_verify"] := io.jwt.decode_verify(input.token, object.union({"cert": input.key}, input.constraints))

decision["decode_verify secret"] := io.jwt.decode_verify(input.token, object.union({"secret": input.secret}, input.constraints))
