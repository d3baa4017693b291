api() { curl -sS -H "Authorization: Bearer $ORKESTR_API_KEY" -H "Content-Type: application/json" "$@"; }
base=$ORKESTR_BASE_URL/v1/sandboxes
id=$(api "$base" -d '{"template": "python-3.12"}' | grep -o 'sbx_[0-9A-Z]*' | head -n 1)

code=$(echo 'print(sum(range(101)))' | base64)
api "$base/$id/files" -d "{\"path\": \"/workspace/main.py\", \"content\": \"$code\"}" >/dev/null
api "$base/$id/exec" -d '{"command": "python3 main.py"}' # {"stdout":"5050\n","stderr":"","exit_code":0,…}
echo
api -X DELETE "$base/$id"
